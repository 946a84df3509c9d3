"""Requests on the wire: names and addresses, dials, HTTP/1 and limits on bodies."""
