"""What the control plane does: one module per verb, each named after its noun.

Writing verbs take the session, the principal and the project, write inside `app.db.writing`, record themselves in the
audit, and publish only after their commit. They know no HTTP. What only reads ends in `_query` where it makes lists and
documents, else in a verb of its own (`_find`, `_diff`, `_explain`).
"""
