//! Policies: how much, counted for whom.

use crate::identity::Identity;
use domain::PolicyName;
use ratelimit::{Demand, Limits, Scope};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// One policy of the file.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: PolicyName,
    /// Sorted, so that `["user", "project"]` counts where `["project", "user"]` does. Never empty.
    pub(crate) scope: Vec<Part>,
    pub(crate) limits: Arc<Limits>,
    /// In place of `limits` for whoever is of this tier.
    pub(crate) tiers: BTreeMap<String, Arc<Limits>>,
    /// Judge and count, but never refuse.
    pub(crate) dry_run: bool,
}

/// What a policy tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// Nothing: all requests count together.
    All,
    Project,
    User,
    Ip,
}

impl Policy {
    /// What it demands of a request.
    pub(crate) fn demand(&self, identity: &Identity, address: IpAddr) -> Demand {
        Demand {
            policy: self.name.clone(),
            scope: self.scope_of(identity, address),
            limits: self.limits_of(identity.tier.as_deref()).clone(),
            dry_run: self.dry_run,
        }
    }

    /// Whose count a request goes to. A user or project that it does not have is replaced by its address, so that nobody
    /// escapes a limit by saying less.
    pub(crate) fn scope_of(&self, identity: &Identity, address: IpAddr) -> Scope {
        let of = |part: &Part| match (part, &identity.project, &identity.user) {
            (Part::All, _, _) => Scope::all(),
            (Part::Project, Some(project), _) => Scope::project(project),
            (Part::User, _, Some(user)) => Scope::user(user),
            (Part::Project | Part::User | Part::Ip, _, _) => Scope::ip(address),
        };
        if let [part] = &self.scope[..] {
            return of(part);
        }
        let mut parts: Vec<Scope> = Vec::with_capacity(self.scope.len());
        for scope in self.scope.iter().map(of) {
            if !parts.contains(&scope) {
                parts.push(scope);
            }
        }
        Scope::combined(&parts)
    }

    fn limits_of(&self, tier: Option<&str>) -> &Arc<Limits> {
        tier.and_then(|tier| self.tiers.get(tier)).unwrap_or(&self.limits)
    }

    /// The most that anybody's request may cost.
    pub(crate) fn most_at_once(&self) -> u32 {
        let all = self.tiers.values().chain([&self.limits]);
        all.map(|limits| limits.most_at_once()).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn policy(scope: &[Part]) -> Policy {
        let limits = |limit| Arc::new(Limits::one(limit, Duration::from_secs(60)).unwrap());
        let tiers = [("gold".to_owned(), limits(100))].into();
        Policy { name: "p".parse().unwrap(), scope: scope.to_vec(), limits: limits(5), tiers, dry_run: false }
    }

    #[test]
    fn what_a_request_does_not_have_is_replaced_by_its_address() {
        use Part::{All, Ip, Project, User};
        let address = "192.0.2.7".parse().unwrap();
        let user = Some("42".parse().unwrap());
        let known = Identity { user: user.clone(), project: Some("acme".parse().unwrap()), tier: None };
        let half = Identity { user, ..Identity::default() };
        for (scope, identity, text) in [
            (&[User][..], &known, "user:42"),
            (&[Project, User], &known, "project:acme+user:42"),
            (&[User, Ip], &known, "user:42+ip:192.0.2.7"),
            (&[All], &known, "all"),
            (&[Project, User], &half, "ip:192.0.2.7+user:42"),
            (&[Project, User, Ip], &Identity::default(), "ip:192.0.2.7"),
            (&[User], &Identity::default(), "ip:192.0.2.7"),
        ] {
            assert_eq!(policy(scope).scope_of(identity, address).as_str(), text, "{scope:?}");
        }
    }

    #[test]
    fn a_tier_has_its_own_limits_and_an_unknown_one_those_of_everybody() {
        for (tier, most) in [(None, 5), (Some("gold"), 100), (Some("lead"), 5)] {
            let identity = Identity { tier: tier.map(str::to_owned), ..Identity::default() };
            let demand = policy(&[Part::User]).demand(&identity, "192.0.2.7".parse().unwrap());
            assert_eq!(demand.limits.most_at_once(), most, "{tier:?}");
        }
    }
}
