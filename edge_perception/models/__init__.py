"""Model bundles: manifest, loading, adapters and import."""
