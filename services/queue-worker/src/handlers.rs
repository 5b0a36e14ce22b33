//! The handlers that are built in.

mod export_project;

pub(crate) use export_project::ExportProject;
