# What a compiler does not check: layers, owners of libraries, banned calls, format.
TESTS += tests/lint/lint.py tests/lint/format.sh
EXTRA_DIST += tests/lint/lint.py tests/lint/format.sh
TESTS += tests/lint/docs.py
EXTRA_DIST += tests/lint/docs.py
