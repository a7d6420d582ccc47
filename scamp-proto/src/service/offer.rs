//! What of a service's actions is announced.

use super::{Action, Actions};
use crate::discovery::{Offer, OfferError};

impl Action {
    /// The action as an announcement lists it (D-16, D-17): its name, version, flags and envelopes.
    ///
    /// One that takes any envelope is announced with those of the service.
    ///
    /// # Errors
    ///
    /// [`OfferError`] for what cannot be announced.
    pub fn to_offer(&self) -> Result<Offer, OfferError> {
        let offer = Offer::new(self.name())?
            .version(self.version())
            .flags(&self.flags_text());
        let envelopes = self.offered_envelopes();
        if envelopes.is_empty() {
            return Ok(offer);
        }
        Ok(Offer {
            envelopes: Some(envelopes.to_vec()),
            ..offer
        })
    }
}

impl<H> Actions<H> {
    /// All actions as an announcement lists them, with those that are built in (V-8). After
    /// registering or removing one, announce them anew (V-1).
    ///
    /// # Errors
    ///
    /// As [`Action::to_offer`].
    pub fn to_offers(&self) -> Result<alloc::vec::Vec<Offer>, OfferError> {
        self.iter().map(Action::to_offer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Name;

    /// D-16, D-17, V-1, V-8: what is registered is what is announced, no more and no less.
    #[test]
    fn offers() {
        let mut actions = Actions::default();
        let hello = Action::parse("Greetings.hello~2").expect("a name");
        let hello = hello.requires(&[20]).flags("t5,read");
        actions.insert(hello, 1).expect("its first");
        let any = Action::parse("Any.thing").expect("a name").envelopes(&[]);
        actions.insert(any, 2).expect("its first");
        let name = Name::parse("greeter").expect("a name");
        actions.add_queue_depth(&name).expect("its first");

        let offers = actions.to_offers().expect("they can be announced");
        let [thing, depth, hello] = &offers[..] else {
            panic!("{offers:?}");
        };
        assert_eq!((&*thing.name, &thing.envelopes), ("thing", &None));
        assert_eq!((&*depth.namespace, &*depth.flags), ("greeter", "noauth"));
        assert_eq!(
            (&*hello.name, hello.version, &*hello.flags),
            ("hello", 2, "read,t5")
        );
        assert_eq!(hello.envelopes.as_deref(), Some(&["json".into()][..]));

        assert!(actions.remove("greetings.hello", 2));
        assert_eq!(actions.to_offers().map(|offers| offers.len()), Ok(2));
    }
}
