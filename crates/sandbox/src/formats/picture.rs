//! Pictures: walked from block to block to their end, so that nothing hides behind it. Pixels are not decoded.

use super::problem::{Checked, refused_at};
use super::source::{Reader, Source};

const HELP: &str = "open the picture in an image program and save it again";

/// Checks that a PNG is chunks from its signature to its end, and nothing else.
pub(super) fn check_png(source: &Source<'_>) -> Checked<()> {
    let mut reader = source.reader();
    png(&mut reader).and_then(|()| only_zeros(&mut reader)).map_err(|problem| problem.help(HELP))
}

fn png(reader: &mut Reader<'_>) -> Checked<()> {
    reader.skip(8)?;
    let mut is_first = true;
    loop {
        let at = reader.position();
        let len_bytes = u32::from_be_bytes(reader.array()?);
        let name: [u8; 4] = reader.array()?;
        if !name.iter().all(u8::is_ascii_alphabetic) || is_first != (&name == b"IHDR") {
            return Err(refused_at(at, "its chunks are not those of a PNG picture"));
        }
        is_first = false;
        // Four bytes of checksum follow.
        reader.skip(u64::from(len_bytes).saturating_add(4))?;
        if &name == b"IEND" {
            return Ok(());
        }
    }
}

/// Checks that a GIF is blocks from its header to its trailer, and nothing else.
pub(super) fn check_gif(source: &Source<'_>) -> Checked<()> {
    let mut reader = source.reader();
    gif(&mut reader).and_then(|()| only_zeros(&mut reader)).map_err(|problem| problem.help(HELP))
}

fn gif(reader: &mut Reader<'_>) -> Checked<()> {
    reader.skip(6)?;
    let screen: [u8; 7] = reader.array()?;
    skip_colours(reader, screen[4])?;
    loop {
        let at = reader.position();
        match reader.byte()? {
            0x3b => return Ok(()),
            0x21 => {
                reader.skip(1)?;
                skip_blocks(reader)?;
            }
            0x2c => {
                let place: [u8; 9] = reader.array()?;
                skip_colours(reader, place[8])?;
                reader.skip(1)?;
                skip_blocks(reader)?;
            }
            _ => return Err(refused_at(at, "its blocks are not those of a GIF picture")),
        }
    }
}

/// Skips a table of colours, if the flags announce one.
fn skip_colours(reader: &mut Reader<'_>, flags: u8) -> Checked<()> {
    match flags & 0x80 {
        0 => Ok(()),
        _ => reader.skip(3 << (u64::from(flags & 7) + 1)),
    }
}

fn skip_blocks(reader: &mut Reader<'_>) -> Checked<()> {
    loop {
        match reader.byte()? {
            0 => return Ok(()),
            len => reader.skip(len.into())?,
        }
    }
}

/// Some cameras pad their files; anything else behind a picture belongs to another format.
fn only_zeros(reader: &mut Reader<'_>) -> Checked<()> {
    while let Some(byte) = reader.next_byte()? {
        if byte != 0 {
            let at = reader.position().saturating_sub(1);
            return Err(refused_at(at, "other bytes follow the end of the picture"));
        }
    }
    Ok(())
}
