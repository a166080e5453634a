"""The study's SQL database: written by the coordinator that holds the lease, read by all."""
