"""The field's protocols and metrics: one row per clip, beside a baseline or a second model."""
