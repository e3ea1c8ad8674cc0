EXTRA_DIST += deploy/examples/micad.yaml
