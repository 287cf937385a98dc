//! Categories of speech, music and other sound.

use super::{Entry, entry};

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        "audio/automatic-speech-recognition",
        "automatic-speech-recognition",
        "Writes down what is said.",
        "asr speech-recognition speech-to-text stt transcription dictation",
    ),
    entry(
        "audio/text-to-speech",
        "text-to-speech",
        "Says a text aloud.",
        "tts speech-synthesis text2speech read-aloud",
    ),
    entry(
        "audio/text-to-audio",
        "text-to-audio",
        "Makes sounds or music from words.",
        "text2audio sound-generation",
    ),
    entry(
        "audio/text-to-audio/music",
        "",
        "Makes music from words.",
        "music-generation text-to-music composing",
    ),
    entry(
        "audio/audio-to-audio",
        "audio-to-audio",
        "Makes other sound of sound.",
        "voice-conversion voice-cloning",
    ),
    entry(
        "audio/audio-to-audio/separation",
        "",
        "Takes voices or instruments apart.",
        "source-separation audio-source-separation stem-separation speaker-separation",
    ),
    entry(
        "audio/audio-to-audio/enhancement",
        "",
        "Takes noise and echo out of a recording.",
        "speech-enhancement noise-suppression audio-denoising",
    ),
    entry(
        "audio/classification",
        "audio-classification",
        "Says which of a set of classes a sound belongs to.",
        "sound-classification audio-classifier audio-tagging tagging",
    ),
    entry(
        "audio/classification/keywords",
        "keyword-spotting",
        "Hears one of a few words.",
        "wake-word hotword kws",
    ),
    entry(
        "audio/classification/speaker",
        "speaker-identification",
        "Says who speaks.",
        "speaker-recognition speaker-verification speaker-id",
    ),
    entry(
        "audio/classification/emotion",
        "audio-emotion-recognition",
        "Says how a speaker feels.",
        "emotion-recognition speech-emotion ser",
    ),
    entry(
        "audio/classification/language",
        "audio-language-identification",
        "Says which language is spoken.",
        "spoken-language-identification",
    ),
    entry(
        "audio/classification/music",
        "",
        "Says what kind of music it is, and by which instruments.",
        "music-genre music-tagging genre-classification",
    ),
    entry(
        "audio/classification/wildlife",
        "",
        "Says which animal is heard.",
        "bird-song birdsong bioacoustics bird-calls",
    ),
    entry(
        "audio/voice-activity-detection",
        "voice-activity-detection",
        "Says when somebody speaks.",
        "vad speech-detection",
    ),
    entry(
        "audio/voice-activity-detection/diarization",
        "",
        "Says who speaks when.",
        "diarization diarisation speaker-diarization",
    ),
];
