"""Documents that exist elsewhere, as pages that come before all batches."""
