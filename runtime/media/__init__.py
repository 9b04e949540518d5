"""Frames in: pictures, videos, folders, cameras, streams, raw bytes. Knows no models."""
