"""Survey microdata: codebooks, readers, checks and drafts; tables to arrays of positions."""
