"""The two parts of the page that need a script in the browser: figures to click at, and the live microphone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emotion_tf.serving.demo_figures import STYLE

_FIGURE_JS = """
// Shows data.html. A click at a figure, or at what has data-start, plays the clip from there.
export default function ({ parentElement, data }) {
  const root = parentElement.querySelector(".etf-root");
  if (root.shown !== data.html) { root.innerHTML = data.html; root.shown = data.html; }
  const player = () => document.querySelector(`.st-key-${data.player} :is(audio, video)`);
  const play = (seconds) => {
    const media = player();
    if (!media) return;
    media.currentTime = seconds;
    media.play().catch(() => {});
  };
  root.onclick = (event) => {
    const marked = event.target.closest("[data-start]");
    const plot = event.target.closest(".etf-plot");
    if (marked) return play(Number(marked.dataset.start));
    if (!plot) return;
    const box = plot.getBoundingClientRect();
    const seconds = Number(plot.closest(".etf-figure").dataset.seconds);
    play(Math.max(0, (event.clientX - box.left) / box.width) * seconds);
  };
  if (root.follow) document.removeEventListener("timeupdate", root.follow, true);
  root.follow = (event) => {
    if (event.target !== player()) return;
    for (const head of root.querySelectorAll(".etf-head")) {
      const seconds = Number(head.closest(".etf-figure").dataset.seconds);
      head.style.display = "block";
      head.style.left = `${100 * Math.min(1, event.target.currentTime / seconds)}%`;
    }
  };
  document.addEventListener("timeupdate", root.follow, true);
  return () => document.removeEventListener("timeupdate", root.follow, true);
}
"""

_LIVE_HTML = """
<div class="etf-live">
  <p class="etf-buttons"><button type="button" class="etf-start">Start the microphone</button>
    <span class="etf-state" role="status" aria-live="polite"></span></p>
  <p class="etf-error" role="alert" hidden></p>
  <canvas class="etf-canvas etf-canvas-wave" role="img" aria-label="Running waveform, the last 6 seconds"></canvas>
  <canvas class="etf-canvas etf-canvas-mel" role="img"
    aria-label="Running spectrogram, 0 to 8 kHz from bottom to top, the last 6 seconds"></canvas>
  <div class="etf-ends" aria-hidden="true"><span>6 s ago</span><span>0 to 8 kHz</span><span>now</span></div>
  <p class="etf-now" aria-live="polite"></p>
  <div class="etf-live-bars"></div>
  <p class="etf-small"></p>
</div>
"""

_LIVE_STYLE = """
.etf-live { color: var(--st-text-color); font-family: var(--st-font); }
.etf-start { font: inherit; padding: 0.45rem 1rem; min-height: 2.5rem; border-radius: 0.5rem; cursor: pointer;
  color: inherit; background: var(--st-secondary-background-color); border: 1px solid rgba(128, 128, 128, 0.6); }
.etf-start:focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
.etf-state { margin-left: 0.8rem; }
.etf-error { padding: 0.7rem 1rem; border-left: 4px solid #d55e00; background: rgba(213, 94, 0, 0.12); }
.etf-canvas { width: 100%; display: block; border-radius: 3px; background: rgba(128, 128, 128, 0.12); }
.etf-canvas-wave { height: 5rem; margin-bottom: 0.4rem; }
.etf-canvas-mel { height: 9rem; }
.etf-ends { display: flex; justify-content: space-between; font-size: 0.8rem; }
.etf-now { font-size: 1.6rem; font-weight: 700; margin: 0.8rem 0 0.4rem; min-height: 2.2rem; }
.etf-small { font-size: 0.85rem; }
"""

_LIVE_JS = """
const SECONDS = 6, COLUMNS = 300, ROWS = 96, TOP_HZ = 8000;

// Runs where the samples come in; nothing else sees all of them.
const WORKLET = `registerProcessor("etf-tap", class extends AudioWorkletProcessor {
  constructor() { super(); this.block = new Int16Array(2048); this.length = 0; }
  process([[samples]]) {
    if (!samples) return true;
    for (const one of samples) {
      this.block[this.length++] = 32767 * Math.max(-1, Math.min(1, one));
      if (this.length === this.block.length) {
        this.port.postMessage(this.block.buffer, [this.block.buffer]);
        this.block = new Int16Array(2048); this.length = 0;
      }
    }
    return true;
  }
});`;

const WORDS = {
  NotAllowedError: "The microphone was refused: allow it for this page in the browser, and start again.",
  NotFoundError: "There is no microphone: connect one, and start again.",
  NotReadableError: "The microphone is in use by another program: close that, and start again.",
};

class Live {
  constructor(root) {
    this.root = root;
    this.find = (name) => root.querySelector(`.etf-${name}`);
    this.find("start").onclick = () => (this.context ? this.stop() : this.start());
  }

  setData(data) {
    // Python hands on the same data on every run of the page: what is under way goes on.
    if (this.data && this.data.url !== data.url && this.context) this.stop();
    this.data = data;
  }

  say(state) { this.find("state").textContent = state; }

  complain(sentence) {
    const error = this.find("error");
    error.hidden = !sentence;
    error.textContent = sentence;
  }

  async start() {
    this.complain("");
    this.say("asking for the microphone");
    try {
      if (!navigator.mediaDevices) throw new Error("This address has no microphone: open the page at localhost.");
      this.media = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
      this.context = new AudioContext();
      const module = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
      await this.context.audioWorklet.addModule(module);
      URL.revokeObjectURL(module);
      await this.connect();
    } catch (error) {
      this.stop();
      this.complain(WORDS[error.name] || error.message);
      return;
    }
    const source = this.context.createMediaStreamSource(this.media);
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = 2048;
    this.analyser.smoothingTimeConstant = 0;
    const tap = new AudioWorkletNode(this.context, "etf-tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => {
      // Where the network is slower than the voice, samples are dropped, not piled up.
      if (this.socket?.readyState === 1 && this.socket.bufferedAmount < 2 ** 20) this.socket.send(data);
    };
    source.connect(this.analyser);
    source.connect(tap);
    this.find("start").textContent = "Stop";
    this.say("listening");
    this.columns = new Float32Array(COLUMNS * ROWS).fill(-120);
    this.peaks = new Float32Array(COLUMNS);
    this.begin = performance.now();
    this.numColumns = 0;
    this.draw();
  }

  connect() {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`${this.data.url}&sample_rate=${this.context.sampleRate}`);
      socket.onopen = () => resolve();
      socket.onmessage = ({ data }) => this.take(JSON.parse(data));
      socket.onclose = () => {
        const sentence = this.refusal || "The server of the live tab has ended: choose Start the server again.";
        reject(new Error(sentence));
        if (this.socket !== socket) return;
        this.stop();
        this.complain(sentence);
      };
      this.socket = socket;
      this.refusal = "";
    });
  }

  stop() {
    const { socket, context, media } = this;
    this.socket = this.context = this.media = null;
    cancelAnimationFrame(this.frame);
    media?.getTracks().forEach((track) => track.stop());
    context?.close();
    socket?.close();
    this.find("start").textContent = "Start the microphone";
    this.say("");
  }

  take(message) {
    if (message.error) this.refusal = message.error;
    else if (message.type === "speech_started") this.say("somebody speaks");
    else if (message.type === "speech_stopped") this.say("nobody speaks");
    else if (message.overloaded) this.say("the server is busy");
    else if (message.probabilities) this.show(message);
  }

  show({ emotion, probabilities, warnings, end }) {
    const bars = this.find("live-bars");
    if (!bars.firstChild) bars.append(this.table(probabilities));
    const least = this.data.least;
    const isSure = probabilities[emotion] >= least;
    [...bars.querySelectorAll("tr")].forEach((row, place) => {
      const value = Object.values(probabilities)[place];
      row.className = isSure && row.dataset.name === emotion ? "most" : "";
      row.querySelector(".etf-fill").style.width = `${100 * value}%`;
      row.querySelector(".etf-line").style.left = `${100 * least}%`;
      row.lastChild.textContent = value.toFixed(2);
    });
    const words = isSure ? emotion : "not sure";
    const now = this.find("now");
    if (now.textContent !== words) now.textContent = words;
    const small = `${end.toFixed(1)} s; the answer is about the last 3 s` + (warnings.length ? ". " + warnings[0] : "");
    this.find("small").textContent = small;
    this.root.dataset.numAnswers = Number(this.root.dataset.numAnswers || 0) + 1;
  }

  table(probabilities) {
    const table = document.createElement("table");
    table.className = "etf-bars";
    table.createCaption().className = "etf-hidden";
    table.caption.textContent = "Probability of each emotion, over the last 3 seconds";
    const body = table.createTBody();
    Object.keys(probabilities).forEach((name, place) => {
      const row = body.insertRow();
      row.dataset.name = name;
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head);
      row.insertCell().innerHTML =
        '<div class="etf-track" aria-hidden="true"><div class="etf-fill"></div><div class="etf-line"></div></div>';
      row.querySelector(".etf-fill").style.background = this.data.colours[place % this.data.colours.length];
      row.insertCell();
    });
    return table;
  }

  draw() {
    this.frame = requestAnimationFrame(() => this.draw());
    const due = Math.floor(((performance.now() - this.begin) / 1000) * (COLUMNS / SECONDS));
    this.read(due);
    this.drawWave(due);
    this.drawSpectrogram(due);
  }

  // Fills the columns that came due since the last picture; older ones are written over.
  read(due) {
    const levels = new Float32Array(this.analyser.frequencyBinCount);
    const wave = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatFrequencyData(levels);
    this.analyser.getFloatTimeDomainData(wave);
    const peak = wave.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const bins = (TOP_HZ / (this.context.sampleRate / 2)) * levels.length;
    for (let column = Math.max(this.numColumns, due - COLUMNS); column < due; column++) {
      this.peaks[column % COLUMNS] = peak;
      for (let row = 0; row < ROWS; row++) {
        const place = Math.min(levels.length - 1, Math.floor((row / ROWS) * bins));
        this.columns[(column % COLUMNS) * ROWS + row] = levels[place];
      }
    }
    this.numColumns = due;
  }

  drawWave(due) {
    const canvas = this.find("canvas-wave");
    const brush = this.brush(canvas);
    brush.fillStyle = getComputedStyle(this.root).color;
    const width = canvas.width / COLUMNS;
    for (let column = 0; column < COLUMNS; column++) {
      const height = Math.max(1, this.peaks[(due + column) % COLUMNS] * canvas.height);
      brush.fillRect(column * width, (canvas.height - height) / 2, Math.ceil(width), height);
    }
  }

  brush(canvas) {
    const width = Math.round(canvas.clientWidth), height = Math.round(canvas.clientHeight);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const brush = canvas.getContext("2d");
    brush.clearRect(0, 0, width, height);
    return brush;
  }

  drawSpectrogram(due) {
    this.picture ||= new ImageData(COLUMNS, ROWS);
    for (let column = 0; column < COLUMNS; column++) {
      const from = ((due + column) % COLUMNS) * ROWS;
      for (let row = 0; row < ROWS; row++) {
        // -100 dB is dark, -30 dB bright.
        const level = Math.max(0, Math.min(1, (this.columns[from + row] + 100) / 70));
        const at = 4 * ((ROWS - 1 - row) * COLUMNS + column);
        this.picture.data[at] = 255 * Math.min(1, 1.6 * level);
        this.picture.data[at + 1] = 255 * Math.max(0, 2 * level - 1);
        this.picture.data[at + 2] = 255 * (0.15 + 0.45 * Math.sin(Math.PI * level));
        this.picture.data[at + 3] = 255;
      }
    }
    this.buffer ||= new OffscreenCanvas(COLUMNS, ROWS);
    this.buffer.getContext("2d").putImageData(this.picture, 0, 0);
    const canvas = this.find("canvas-mel");
    this.brush(canvas).drawImage(this.buffer, 0, 0, canvas.width, canvas.height);
  }
}

export default function ({ parentElement, data }) {
  const root = parentElement.querySelector(".etf-live");
  root.live ||= new Live(root);
  root.live.setData(data);
  return () => root.live.stop();
}
"""

Component = Callable[..., Any]


def register() -> tuple[Component, Component]:
    """Registers both, once for the life of the page's process.

    Returns:
      A figure, whose data are html and player (the key of the container of the clip); and the live microphone, whose
      data are url (of a stream, with a query), colours, and least (the probability that counts as sure).
    """
    from streamlit.components.v2 import component

    figure = component("emotion_tf_figure", html='<div class="etf-root"></div>', css=STYLE, js=_FIGURE_JS)
    return figure, component("emotion_tf_live", html=_LIVE_HTML, css=STYLE + _LIVE_STYLE, js=_LIVE_JS)
