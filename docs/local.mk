EXTRA_DIST += docs/LEDGER.md
dist_man_MANS += docs/man/mica.1
dist_man_MANS += docs/man/mica-audit.1
