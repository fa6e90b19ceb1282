"""Text encoders behind the embedding signal: tables shipped with the package, and the code that reads them."""
