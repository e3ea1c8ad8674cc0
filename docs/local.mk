EXTRA_DIST += docs/LEDGER.md
EXTRA_DIST += docs/API.md
