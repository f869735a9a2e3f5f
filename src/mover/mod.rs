//! What runs inside a Job, as PID 1 around restic.
