"""The demo: a small web made of what is installed, a Reddit dump that links to it, and the checks at the end.

`web.build` collects documentation of the installed Python packages into pages of more than thirty sites and plants
counted cases among them (copies, redirects, leaks of a test set ...). `server.DemoServer` serves them on loopback,
`dump.write_dump` writes the dump that links to them, and `checks.check` compares the corpus that the ordinary doors
made of it with what was planted. Nothing here needs a network beyond loopback, and no stage is imported.
"""
