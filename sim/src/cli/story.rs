//! The stories that a command line names.

use pgbaton_core::scenario::{Scenario, World, parse};

#[derive(Debug)]
pub struct Story {
    pub file: String,
    pub text: String,
    pub scenario: Scenario,
}

impl Story {
    pub fn read(file: &str) -> Result<Story, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        let scenario = parse(file, &text).map_err(|e| e.to_string())?;
        Ok(Story { file: file.to_string(), text, scenario })
    }

    /// The error is why it can't be played here.
    pub fn for_sim(self) -> Result<Story, String> {
        if self.scenario.worlds.contains(&World::Sim) {
            return Ok(self);
        }
        let why = self.scenario.why.as_deref().unwrap_or("the file gives no reason");
        Err(format!("{}: not for the simulated world: {why}", self.file))
    }

    /// All are read before any is played: what is wrong with one is said at once. Those for other worlds are left out,
    /// which is said as well.
    pub fn read_all(files: &[String]) -> Result<Vec<Story>, String> {
        let (mut stories, mut wrong) = (Vec::new(), Vec::new());
        for file in files {
            match Story::read(file) {
                Ok(story) => stories.push(story),
                Err(why) => wrong.push(why),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong.join("\n"));
        }
        let here = |story: Story| story.for_sim().inspect_err(|why| eprintln!("skipped: {why}")).ok();
        Ok(stories.into_iter().filter_map(here).collect())
    }
}
