"""Rights: the statements of sites and pages about training on them, read, combined and applied.

One module reads each signal, as pure functions of bytes: `content_usage` (IETF AIPREF),
`content_signal`, `rsl`, `tdmrep`, `robots_tags`, `ai_agents` and `licences`. `robots_file` finds the
signals of a robots.txt that apply to a page, `page` those of a response. `corpus.rights` combines them
to one answer.
"""
