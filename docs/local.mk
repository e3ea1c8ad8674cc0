EXTRA_DIST += docs/LEDGER.md
EXTRA_DIST += docs/API.md
dist_man_MANS += docs/man/mica.1
dist_man_MANS += docs/man/mica-audit.1
EXTRA_DIST += docs/PROOF.md
