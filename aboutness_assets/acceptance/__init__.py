"""I judge rows that exist. Criteria, verdicts, and the comparison with the recorded old-style rows.

Does not belong here: SQL (database), how Dagster shows a verdict (orchestration).
"""
