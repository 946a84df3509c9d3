"""The demo: a small web, a Reddit dump with links to it, and the checks at the end.

`web.build` collects documentation of the installed Python packages into pages of more than thirty
sites and plants counted cases among them (copies, redirects, leaks of a test set ...).
`server.DemoServer` serves them on loopback, `dump.write_dump` writes the dump, and `checks.check`
compares the finished corpus with the planted cases. No network beyond loopback is needed, and no
stage is imported.
"""
