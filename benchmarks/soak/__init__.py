"""Many changes of few keys through the whole sink, against an endpoint that keeps failing."""
