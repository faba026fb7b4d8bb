//! "Did you mean": the known name nearest to a wrong one.

/// ` (did you mean "name"?)` for the candidate nearest to `wrong`, or nothing when none is near.
pub(crate) fn did_you_mean<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, candidates).map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default()
}

/// A candidate is near when a third of its letters, at least one, would have to change.
fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = wrong.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&folded, &name.to_lowercase());
    candidates
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `a, b, c` in quotes, cut after ten names, for messages that list what there is.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 10;
    let names: Vec<_> = names.into_iter().collect();
    let mut text = names.iter().take(SHOWN).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// The error for a name that is not among those there are.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) fn unknown(what: &str, name: &str, there: &[String]) -> crate::Error {
    let hint = did_you_mean(name, there.iter().map(String::as_str));
    let there = match there {
        [] => "there are none".to_owned(),
        there => format!("there are {}", list(there.iter().map(String::as_str))),
    };
    crate::Error::new(crate::ErrorKind::Config, format!("there is no {what} \"{name}\"{hint}; {there}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_whatever_its_case() {
        assert_eq!(nearest("talnum", ["origin", "tailnum", "tailnumber"]), Some("tailnum"));
        assert_eq!(nearest("TAILNUM", ["tailnum"]), Some("tailnum"));
    }

    #[test]
    fn a_name_unlike_all_others_gets_no_suggestion() {
        assert_eq!(nearest("zebra", ["origin", "tailnum"]), None);
        assert_eq!(did_you_mean("zebra", ["origin"]), "");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert!(list(names.iter().map(String::as_str)).ends_with("\"9\" and 2 more"));
    }
}
