//! A mover's answer as the text that Kubernetes keeps.

use crate::core::task::{Answer, Failure, FailureKind, MAX_ANSWER, Outcome};

/// What the kubelet keeps of a container's termination message.
const KEPT: usize = 4096;
/// Bytes of each message, from comfortable to the bare minimum.
const CUTS: [usize; 6] = [1000, 500, 250, 120, 60, 0];

/// The answer as JSON of at most [`MAX_ANSWER`] bytes. Messages are cut until it fits, results never are: many
/// volumes without any message may need more, up to what the kubelet keeps.
pub fn render(answer: &Answer) -> String {
    let fits = CUTS.iter().map(|&cut| to_json(&shortened(answer, cut))).find(|text| text.len() <= MAX_ANSWER);
    let bare = fits.unwrap_or_else(|| to_json(&shortened(answer, 0)));
    if bare.len() <= KEPT {
        return bare;
    }
    let message = "the answer is too long for Kubernetes: name fewer claims in one object".to_owned();
    let outcome = Outcome::Failed(Failure { kind: FailureKind::Fatal, message });
    to_json(&Answer::new(answer.repository.clone(), outcome))
}

/// Whether everything that was asked for was done, in full.
pub fn is_good(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Found
        | Outcome::Created
        | Outcome::Resolved(_)
        | Outcome::Restored(_)
        | Outcome::Maintained(_)
        | Outcome::Unlocked(_) => true,
        Outcome::BackedUp(volumes) => volumes.iter().all(|one| one.failure.is_none() && one.snapshot.is_some()),
        Outcome::Checked(checked) => checked.errors == 0,
        Outcome::Failed(_) => false,
    }
}

/// Every failure in an outcome, to be looked at or changed.
pub fn failures(outcome: &mut Outcome) -> impl Iterator<Item = &mut Failure> {
    let (failed, volumes) = match outcome {
        Outcome::Failed(failure) => (Some(failure), None),
        Outcome::BackedUp(volumes) => (None, Some(volumes)),
        _ => (None, None),
    };
    failed.into_iter().chain(volumes.into_iter().flatten().filter_map(|one| one.failure.as_mut()))
}

fn to_json(answer: &Answer) -> String {
    serde_json::to_string(answer).unwrap_or_default()
}

fn shortened(answer: &Answer, bytes: usize) -> Answer {
    let mut answer = answer.clone();
    for failure in failures(&mut answer.outcome) {
        cut(&mut failure.message, bytes);
    }
    answer
}

/// Cuts a text to so many bytes, between characters.
pub fn cut(text: &mut String, bytes: usize) {
    const MORE: &str = "…";
    if text.len() > bytes {
        let mut end = bytes.saturating_sub(MORE.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        *text += MORE;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::task::{BackedUp, Resolved};

    fn backed_up(count: usize, message: &str) -> Answer {
        let one = |index| BackedUp {
            claim: format!("claim-{index}"),
            snapshot: Some("0".repeat(64)),
            files: 10_000,
            bytes: 1_000_000_000,
            added: 1_000_000,
            seconds: 60,
            failure: Some(Failure { kind: FailureKind::Partial, message: message.to_owned() }),
            ..BackedUp::default()
        };
        Answer::new(Some("1".repeat(64)), Outcome::BackedUp((0..count).map(one).collect()))
    }

    #[test]
    fn results_are_never_cut() {
        for (count, longest) in [(1, MAX_ANSWER), (5, MAX_ANSWER), (15, KEPT)] {
            let text = render(&backed_up(count, &"no \"such\" file\n".repeat(1000)));
            assert!(text.len() <= longest, "{count}: {}", text.len());
            let answer: Answer = serde_json::from_str(&text).unwrap();
            let Outcome::BackedUp(volumes) = answer.outcome else { panic!("{text}") };
            assert!(volumes.iter().all(|one| one.snapshot.as_ref().is_some_and(|id| id.len() == 64)));
            assert_eq!(volumes.len(), count);
        }
        let one = Resolved {
            claim: "a-claim".to_owned(),
            snapshot: "0".repeat(64),
            time: "2026-11-22T10:00:00Z".parse().unwrap(),
            files: Some(10_000),
            bytes: Some(1_000_000_000),
        };
        let twenty = Answer::new(None, Outcome::Resolved(vec![one; 20]));
        assert_eq!(serde_json::from_str::<Answer>(&render(&twenty)).unwrap(), twenty);
        insta::assert_snapshot!(render(&backed_up(100, "")));
    }

    #[test]
    fn good_is_everything_in_full() {
        let mut answer = backed_up(2, "x");
        assert!(!is_good(&answer.outcome));
        if let Outcome::BackedUp(volumes) = &mut answer.outcome {
            for one in volumes {
                one.failure = None;
            }
        }
        assert!(is_good(&answer.outcome));
        if let Outcome::BackedUp(volumes) = &mut answer.outcome {
            volumes[1].snapshot = None;
        }
        assert!(!is_good(&answer.outcome));
    }

    proptest! {
        #[test]
        fn any_message_fits(message in "\\PC{0,3000}", bytes in 0_usize..200) {
            let failed = Failure { kind: FailureKind::Fatal, message: message.clone() };
            let text = render(&Answer::new(None, Outcome::Failed(failed)));
            prop_assert!(text.len() <= MAX_ANSWER);
            prop_assert!(serde_json::from_str::<Answer>(&text).is_ok());
            let mut short = message.clone();
            cut(&mut short, bytes);
            prop_assert!(short.len() <= bytes.max(3));
            prop_assert!(short == message || message.starts_with(short.trim_end_matches('…')));
        }
    }
}
