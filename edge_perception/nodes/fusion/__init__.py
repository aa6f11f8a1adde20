"""The fusion node: features to one fused view a cycle."""
