"""The vendors' own SDKs as an optional transport (`transport: sdk`)."""
