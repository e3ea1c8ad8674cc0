include tests/unit/local.mk
include tests/fuzz/local.mk
include tests/lint/local.mk
include tests/bench/local.mk
include tests/e2e/local.mk
include tests/scenario/local.mk
EXTRA_DIST += tests/proof.py

# The long evidence; docs/PROOF.md says what the figures mean.
.PHONY: proof
proof: all $(check_PROGRAMS)
	$(PYTHON3) $(srcdir)/tests/proof.py --build . --out proof.json $(PROOF_FLAGS)
