//! What outlasts the process: read at the start, written whenever it changes.
//!
//! A process that takes over begins with the changes of the one before, which are handed to it:
//! so it is no matter whether either has a state directory, and whether it is the same.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::config::Loaded;
use crate::net::inherit;
use crate::overlay::store::{self, Store};
use crate::overlay::{Keyed, Overlay};
use crate::stickiness::{Keys, keys};

use super::actor::{Actor, Source};
use super::change::blocking;
use super::handle::ChangeError;
use super::start::StartError;

/// What outlasts the process, and the whole configuration with it.
pub(super) struct Kept {
    pub(super) file: Keyed,
    pub(super) overlay: Overlay,
    pub(super) whole: Value,
    pub(super) store: Option<Store>,
    pub(super) keys: Keys,
    pub(super) loaded: Loaded,
}

impl Kept {
    /// What the state directory and the process before have for the file of `source`, which
    /// `loaded` was read from.
    pub(super) fn open(source: &Source, loaded: Loaded) -> Result<Self, StartError> {
        let file = Keyed::parse(&source.text).map_err(failed)?;
        let handed = handed_over()?;
        let dir = loaded.model.server.state_dir.as_deref();
        let (store, mut overlay) = match dir {
            Some(dir) => {
                let store = Store::open(dir).map_err(failed)?;
                let overlay = beginning(&store, handed).map_err(failed)?;
                (Some(store), overlay)
            }
            None => (None, handed.unwrap_or_else(Overlay::empty)),
        };
        for warning in overlay.reconcile(&file) {
            tracing::warn!("{warning}");
        }
        let keys = dir.map_or_else(keys::in_memory, keys::load_or_create).map_err(failed)?;
        let loaded = match overlay.is_empty() {
            true => loaded,
            false => overlay.load(&file).map_err(StartError::Changes)?,
        };
        let whole = overlay.over(&file).value().clone();
        Ok(Self { file, overlay, whole, store, keys, loaded })
    }
}

/// The changes to begin with: those of the process before, which then last here, too; else those
/// that were kept.
fn beginning(store: &Store, handed: Option<Overlay>) -> Result<Overlay, store::StoreError> {
    let kept = store.load()?;
    let Some(handed) = handed.filter(|handed| *handed != kept) else { return Ok(kept) };
    store.save(&handed)?;
    Ok(handed)
}

/// The changes of the process that this one takes over from, if it does.
fn handed_over() -> Result<Option<Overlay>, StartError> {
    let text = inherit::changes(store::FILE_BYTES_MAX).map_err(failed)?;
    let overlay = text.map(|text| store::overlay_of(&text)).transpose();
    overlay.map_err(|why| failed(format!("the changes of the process before: {why}")))
}

fn failed(error: impl fmt::Display) -> StartError {
    StartError::Control(error.to_string())
}

/// Makes the changes last, where there is a state directory.
pub(super) async fn save(
    actor: &RefCell<Actor>,
    overlay: &Arc<Overlay>,
) -> Result<(), ChangeError> {
    let Some(dir) = actor.borrow().model.server.state_dir.clone() else { return Ok(()) };
    let store = actor.borrow_mut().store.take();
    let overlay = overlay.clone();
    let written = blocking(move || {
        // None if it could not be had again after an upgrade that failed.
        let store = store.map_or_else(|| Store::open(&dir), Ok)?;
        let saved = store.save(&overlay);
        Ok((store, saved))
    });
    let failed = |error: store::StoreError| ChangeError::Failed(error.to_string());
    let (store, saved) = written.await?.map_err(failed)?;
    actor.borrow_mut().store = Some(store);
    saved.map_err(failed)
}
