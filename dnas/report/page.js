// Each slider shows one of the frames that stand beside it; the button plays them.
for (const film of document.querySelectorAll(".film")) {
  const input = film.querySelector("input"), output = film.querySelector("output"), button = film.querySelector("button");
  const frames = [...film.querySelectorAll(".frame")];
  const show = () => {
    frames.forEach((frame, index) => { frame.hidden = index !== Number(input.value); });
    output.textContent = frames[input.value].dataset.label;
  };
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  input.addEventListener("input", () => { stop(); show(); });
  button.addEventListener("click", () => {
    if (timer !== null) { stop(); return; }
    if (Number(input.value) === frames.length - 1) { input.value = 0; }
    button.textContent = "Stop";
    show();
    timer = setInterval(() => {
      input.value = Number(input.value) + 1;
      show();
      if (Number(input.value) === frames.length - 1) { stop(); }
    }, 500);
  });
  show();
}
