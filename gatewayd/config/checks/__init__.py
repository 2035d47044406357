"""The stages of validation, one module each: keys, values, references between entries, deployments, server."""
