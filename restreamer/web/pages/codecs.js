"use strict";
// What a stream's codecs are (RFC 6381), what people call them, and whether this browser has them.
const CODEC_NAMES = [
  [/^avc[1-4]/, "H.264 video"],
  [/^(hvc1|hev1|dvh1|dvhe)/, "HEVC (H.265) video"],
  [/^av01/, "AV1 video"],
  [/^(vp09|vp9)/, "VP9 video"],
  [/^mp4v\.6/, "MPEG-2 video"],
  [/^(mp4a\.40\.33)$/, "MPEG layer II audio"],
  [/^(mp4a\.40\.34|mp4a\.6b|mp4a\.69|mp3)$/, "MP3 audio"],
  [/^mp4a/, "AAC audio"],
  [/^ac-3/, "AC-3 audio"],
  [/^ec-3/, "E-AC-3 audio"],
  [/^opus/, "Opus audio"],
  [/^(ulaw|alaw)/, "G.711 audio"],
];

const codecs = {
  name(codec) {
    const found = CODEC_NAMES.find(([pattern]) => pattern.test(codec.toLowerCase()));
    return found ? found[1] : codec;
  },

  // "video", "audio", or "" of something unknown.
  kind(codec) {
    return ["video", "audio"].find((kind) => codecs.name(codec).endsWith(kind)) || "";
  },

  playable(codec) {
    const kind = codecs.kind(codec);
    if (!kind) return true;
    const source = self.MediaSource || self.ManagedMediaSource;
    const has = source ? (type) => source.isTypeSupported(type)
      : (type) => document.createElement("video").canPlayType(type) !== "";
    return has(`${kind}/mp4; codecs="${codec}"`) || (codecs.name(codec) === "MP3 audio" && has("audio/mpeg"));
  },

  // All codecs that a master playlist, a manifest or the API's answer names; none where it says nothing.
  said(text) {
    const lists = [...text.matchAll(/(?:CODECS=|codecs=|"codec":\s*)"([^"]+)"/g)].map((found) => found[1]);
    return [...new Set(lists.join(",").split(",").map((codec) => codec.trim()).filter(Boolean))];
  },

  // What of a stream this browser lacks: { video, audio } are names where no track of the kind can be played,
  // and nothing is true when no track at all can be. C{has} says whether a codec can be played.
  lacking(found, has = codecs.playable) {
    const lack = { video: [], audio: [], nothing: found.length > 0 };
    for (const kind of ["video", "audio"]) {
      const all = found.filter((codec) => codecs.kind(codec) === kind);
      if (!all.some(has)) lack[kind] = [...new Set(all.map(codecs.name))];
    }
    if (found.some((codec) => has(codec))) lack.nothing = false;
    return lack;
  },
};
