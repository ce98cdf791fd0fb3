for (const wiper of document.querySelectorAll(".wiper")) {
  const figure = wiper.closest(".case"), slider = wiper.querySelector("input");
  const picture = figure.querySelector("img.picture");
  for (const pane of figure.querySelectorAll(".wipe")) {
    const over = new Image();
    over.src = picture.src;
    over.alt = "";
    over.className = "over";
    pane.append(over);
  }
  const show = () => {
    figure.style.setProperty("--wipe", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " % picture");
  };
  slider.addEventListener("input", show);
  wiper.hidden = false;
  show();
}
