// The review's script: shortcuts, and the outline that is drawn on the picture.
"use strict";

const byId = (name) => document.getElementById(name);

// Keyboard shortcuts, which can be switched off: they are single letters.

const STORED = "didgen-shortcuts";
const box = byId("shortcuts");
if (box) {
  box.checked = localStorage.getItem(STORED) !== "off";
  box.addEventListener("change", () => localStorage.setItem(STORED, box.checked ? "on" : "off"));
}

const KEYS = {
  a: "accept", u: "withdraw", j: "after", k: "before", o: "show-outline", d: "draw", z: "back",
  r: "real", s: "synthetic",
};

const press = (key) => {
  const target = /^[1-9]$/.test(key)
    ? document.querySelector(`[data-number="${key}"]`)
    : byId(KEYS[key] || "");
  if (!target || target.disabled) return false;
  target.click();
  return true;
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
  if (!box || !box.checked) return;
  if (event.target.closest("select, textarea, input:not([type=checkbox])")) return;
  if (press(event.key)) event.preventDefault();
});

// A form is sent once: a second key before the next page comes would decide on this one again.

for (const form of document.querySelectorAll("form[method=post]")) {
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
  });
  addEventListener("pageshow", () => { sent = false; });
}

// The outline: closed curves of points, as shares of the picture's width and height.

const LONGEST = 2000;
const APART = 2; // pixels of the screen between two points of a stroke
const STROKE = 8; // points from which a stroke closes by itself

const outline = (canvas) => {
  const form = byId("decision");
  const field = byId("curves");
  const stage = canvas.parentElement;
  const pen = canvas.getContext("2d");
  const buttons = { draw: byId("draw"), close: byId("close-curve"), back: byId("back") };
  const said = byId("drawing");
  const curves = JSON.parse(form.dataset.curves);
  let open = [];
  let stroke = null;

  const trace = (curve, closed) => {
    pen.beginPath();
    curve.forEach(([x, y], place) => {
      const at = [x * canvas.width, y * canvas.height];
      if (place) pen.lineTo(...at);
      else pen.moveTo(...at);
    });
    if (closed) pen.closePath();
    for (const [colour, width] of [["#000000", 4], ["#ffd400", 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width * devicePixelRatio;
      pen.stroke();
    }
  };

  const fit = () => {
    canvas.width = Math.max(Math.round(canvas.clientWidth * devicePixelRatio), 1);
    canvas.height = Math.max(Math.round(canvas.clientHeight * devicePixelRatio), 1);
    show();
  };

  const counted = (count, name) => `${count} ${name}${count === 1 ? "" : "s"}`;

  const show = () => {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    curves.forEach((curve) => trace(curve, true));
    if (open.length) {
      const [x, y] = open[0];
      trace(open, false);
      pen.fillStyle = "#ffd400";
      const side = 6 * devicePixelRatio;
      pen.fillRect(x * canvas.width - side / 2, y * canvas.height - side / 2, side, side);
    }
    field.value = curves.length ? JSON.stringify(curves) : "";
    buttons.close.disabled = open.length < 3;
    buttons.back.disabled = !curves.length && !open.length;
    if (stage.classList.contains("drawing")) {
      said.textContent = open.length
        ? `${counted(open.length, "point")}; close the curve to keep it.`
        : `${counted(curves.length, "curve")}. Draw around the lesion, or tap its corners.`;
    } else {
      said.textContent = curves.length ? `New outline of ${counted(curves.length, "curve")}.` : "";
    }
  };

  const point = (event) => {
    const frame = canvas.getBoundingClientRect();
    const share = (at, start, length) =>
      Number(Math.min(Math.max((at - start) / length, 0), 1).toFixed(5));
    return [
      share(event.clientX, frame.left, frame.width),
      share(event.clientY, frame.top, frame.height),
    ];
  };

  const add = (one) => {
    const last = open[open.length - 1];
    const far = !last ||
      Math.hypot((one[0] - last[0]) * canvas.width, (one[1] - last[1]) * canvas.height) >= APART;
    if (far && open.length < LONGEST) open.push(one);
    return far;
  };

  const close = () => {
    if (open.length >= 3) curves.push(open);
    open = [];
    show();
  };

  const draw = (on) => {
    stage.classList.toggle("drawing", on);
    buttons.draw.setAttribute("aria-pressed", String(on));
    if (on) stage.classList.remove("plain");
    show();
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || stroke !== null) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    stroke = { pointer: event.pointerId, points: 0 };
    add(point(event));
    show();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (stroke === null || stroke.pointer !== event.pointerId) return;
    const moves = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const move of moves.length ? moves : [event]) stroke.points += add(point(move)) ? 1 : 0;
    show();
  });
  const lift = (event) => {
    if (stroke === null || stroke.pointer !== event.pointerId) return;
    const whole = event.type === "pointerup" && stroke.points >= STROKE;
    stroke = null;
    if (whole) close();
    else show();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);

  buttons.draw.addEventListener("click", () => draw(!stage.classList.contains("drawing")));
  buttons.close.addEventListener("click", close);
  buttons.back.addEventListener("click", () => {
    if (open.length) open = [];
    else curves.pop();
    show();
  });
  document.addEventListener("keydown", (event) => {
    if (!stage.classList.contains("drawing")) return;
    if (event.key === "Escape") draw(false);
    // On any other button Enter is the button's own.
    const free = event.target === document.body || event.target === buttons.draw;
    if (event.key === "Enter" && free && open.length >= 3) {
      event.preventDefault();
      close();
    }
  });
  form.addEventListener("submit", () => {
    if (open.length >= 3) close();
  });
  new ResizeObserver(fit).observe(canvas);
};

const canvas = byId("canvas");
if (canvas) outline(canvas);

const shown = byId("show-outline");
if (shown) {
  shown.addEventListener("click", () => {
    const plain = byId("canvas").parentElement.classList.toggle("plain");
    shown.setAttribute("aria-pressed", String(!plain));
  });
}
