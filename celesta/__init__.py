"""The Celesta SDK: what users import, and what runs inside every step."""
