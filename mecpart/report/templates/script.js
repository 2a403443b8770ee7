for (const button of document.querySelectorAll("[data-show]")) {
  const section = button.closest("section");
  button.disabled = false;
  button.addEventListener("click", () => {
    for (const other of section.querySelectorAll("[data-show]")) other.ariaPressed = String(other === button);
    for (const group of section.querySelectorAll(".claims tbody")) {
      const rows = [...group.querySelectorAll("[data-verdict]")];
      for (const row of rows) row.hidden = button.dataset.show && row.dataset.verdict !== button.dataset.show;
      group.hidden = rows.every((row) => row.hidden);
    }
  });
}
for (const button of document.querySelectorAll("button.fold")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const codes = [...document.querySelectorAll("details.code")];
    const open = !codes.some((code) => code.open);
    for (const code of codes) code.open = open;
    button.textContent = open ? "Hide code" : "Show code";
  });
}
