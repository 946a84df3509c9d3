"""The spine: what the stages share, and nothing else.

Where tables lie (`layout`), what they hold (`schemas`), what makes one real (`manifest`), how work
runs (`step`, `runner`, `executor`), and the doors that look at a corpus as a whole.
It imports no stage.
"""
