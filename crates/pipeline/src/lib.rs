//! guildhall-pipeline
