"""A change of models, from the request that is accepted to its last step in the journal."""
