"""Results out: whole files or none, formats, arrays, drawings. Knows records, no models."""
