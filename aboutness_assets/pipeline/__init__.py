"""I bring the rooms below together: songs -> packs -> answers -> texts -> vectors -> rows -> report.

session builds everything from the settings; below it nobody sees them. Paid requests, replay and the sink
are three things, so that another way of asking can use the first two without the third. Does not belong here:
SQL, HTTP, Dagster.
"""
