"""A batch's captures for the tools of web archives: a CDXJ index, or a WACZ package."""
