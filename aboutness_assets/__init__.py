"""Fills a music service's song_aboutness table: what every song is about, in two short embedded texts."""
