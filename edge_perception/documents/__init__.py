"""Text that people write: read strictly, so that a mistake is named and not obeyed."""
