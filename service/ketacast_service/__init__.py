"""The prediction service: a formatter of predictions over HTTP, with access control and audit."""
