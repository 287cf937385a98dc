//! Full-text index of listings on disk, behind the port [`guildhall_catalog::text::TextIndex`]. The only crate that
//! names tantivy.
