"""What a model is: bundle, manifest, loading, adapters."""
