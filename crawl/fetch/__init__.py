"""Links to the `pages` table: polite, guarded, resumable fetching."""
