//! Programs that run in the node under test, inside test images only: the probe and the stand-ins (`src/bin`). What they
//! share with the tests on the host is here: the probe's wire format, and a client of S3.

pub mod probe;
pub mod s3;
