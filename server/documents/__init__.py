"""From bodies to documents: now or as a task, once although sent twice."""
