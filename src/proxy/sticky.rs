//! Stickiness as an exchange sees it: which group and target the client is bound to, and the
//! cookies that bind it.

use crate::message::{Request, ResponseHead};
use crate::model::{Forward, GroupIndex, Stickiness};
use crate::routing;
use crate::snapshot::{GroupView, Snapshot, TargetView};
use crate::stickiness::{self, Bound, GroupKey, Keys, Kind, Scope, cookie};

use super::local::Local;

/// A group of a sticky forward action, as a cookie names it.
pub(super) struct ForwardBinding {
    scope: Scope,
    group: GroupKey,
}

/// What binds the client of one exchange.
pub(super) struct Binding<'a> {
    keys: &'a Keys,
    forward: Option<ForwardBinding>,
    /// What the client's cookie for the group says, if it brought a good one.
    opened: Option<Bound>,
}

/// Chooses the group of a forward action: the one that the client is bound to, else by weight.
pub(super) fn choose_group(
    forward: &Forward,
    snapshot: &Snapshot,
    request: &Request<'_>,
    local: &Local,
) -> Option<(GroupIndex, Option<ForwardBinding>)> {
    let Some(duration) = forward.stickiness else {
        return Some((routing::choose_group(forward, local.random())?, None));
    };
    let name = |&(index, _): &(GroupIndex, _)| snapshot.group(index).settings.name.as_str();
    let names: Vec<&str> = forward.groups.iter().map(name).collect();
    let keys: Vec<GroupKey> = names.iter().map(|name| GroupKey::of(name)).collect();
    let scope = Scope::of_forward(&names);
    let bound = cookie::value(request, Kind::Group).and_then(|value| {
        let now = local.alarms.epoch_seconds();
        stickiness::open(&snapshot.keys, &scope, value, now, duration)
    });
    let at = match bound.and_then(|bound| stickiness::bound_group(bound, &keys)) {
        Some(at) => at,
        None => {
            let chosen = routing::choose_group(forward, local.random())?;
            forward.groups.iter().position(|&(index, _)| index == chosen)?
        }
    };
    let binding = ForwardBinding { scope, group: keys[at] };
    Some((forward.groups[at].0, Some(binding)))
}

impl<'a> Binding<'a> {
    /// What the cookies of `request` say.
    pub(super) fn new(
        request: &Request<'_>,
        group: &GroupView,
        forward: Option<ForwardBinding>,
        keys: &'a Keys,
        now: u64,
    ) -> Self {
        let stickiness = &group.settings.stickiness;
        let opened = match (&group.scope, stickiness) {
            (
                Some(scope),
                Stickiness::LbCookie(duration) | Stickiness::AppCookie { duration, .. },
            ) => cookie::offered(request, stickiness)
                .and_then(|value| stickiness::open(keys, scope, value, now, *duration)),
            (_, Stickiness::Off | Stickiness::SourceIp) | (None, _) => None,
        };
        Self { keys, forward, opened }
    }

    /// The target that the client is bound to, if it may get the request.
    pub(super) fn target<'g>(&self, group: &'g GroupView) -> Option<&'g TargetView> {
        let targets = group.targets.iter().enumerate();
        let candidates = targets.map(|(index, target)| (index, target.address));
        let index = stickiness::bound_target(self.opened?, candidates)?;
        Some(&group.targets[index]).filter(|target| !target.load.is_draining())
    }

    /// Appends the cookies that the response of `target` brings.
    pub(super) fn write(
        &self,
        group: &GroupView,
        target: &TargetView,
        response: &ResponseHead,
        bytes: &[u8],
        local: &Local,
        out: &mut Vec<u8>,
    ) {
        let now = local.alarms.epoch_seconds();
        let mut set = |scope: &Scope, bound: Bound| {
            let sealed = stickiness::seal(self.keys, scope, nonce(local), bound, now);
            cookie::set(&sealed, now, out);
        };
        if let Some(scope) = &group.scope {
            let stickiness = &group.settings.stickiness;
            let sets_app_cookie = || match stickiness {
                Stickiness::AppCookie { name, .. } => cookie::is_set(response, bytes, name),
                Stickiness::Off | Stickiness::LbCookie(_) | Stickiness::SourceIp => false,
            };
            if stickiness::due(stickiness, self.opened.is_some(), sets_app_cookie) {
                set(scope, Bound::Target(target.address));
            }
        }
        if let Some(forward) = &self.forward {
            set(&forward.scope, Bound::Group(forward.group));
        }
    }
}

fn nonce(local: &Local) -> stickiness::Nonce {
    let mut nonce = stickiness::Nonce::default();
    let random = u128::from(local.random()) << 64 | u128::from(local.random());
    for (byte, random) in nonce.iter_mut().zip(random.to_ne_bytes()) {
        *byte = random;
    }
    nonce
}
